#!/bin/sh
# Written by farmlet: a credential for jobs and sessions, stored by consent. condor_submit runs it for jobs that need one.
exec {{ python }} -I -m farmlet.parts.tokens.storer "$@"
