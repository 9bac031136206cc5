#!/bin/sh
# Written by farmlet: an image of your own, from the packages in a requirements.txt.
exec {{ python }} -I -m farmlet.parts.software.members.own "$@"
