#!/bin/sh
# Written by farmlet. condor_master starts a program by its bare name, from which Python could not tell its environment,
# and gives it no standard error: messages go to the journal. -I: the working directory is no place to import from.
exec systemd-cat --identifier=farmlet-credmon {{ python }} -I -m farmlet.parts.tokens.credmon "$@"
