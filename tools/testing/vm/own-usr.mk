# SPDX-License-Identifier: GPL-2.0-only
#
# GNUmakefile of the headers of a kernel that comes with a compiler, see get-kernel:
# make runs with the /usr in which they are. What this machine has in /usr/src and
# /usr/local, to be built or to be called, stays where it is. Mounts are not to be noted
# in a file of root's (-n).

usr := $(realpath $(dir $(lastword $(MAKEFILE_LIST)))../..)
user := $(if $(filter-out 0,$(shell id -u)),--map-root-user)
goals := $(or $(MAKECMDGOALS),all)

.PHONY: own_usr $(goals)

$(goals): own_usr
	@:

own_usr:
	+@unshare --mount $(user) sh -ec ' \
		mount -n --rbind "$$0" /mnt; \
		mount -n --rbind /usr/src /mnt/src; \
		mount -n --rbind /usr/local /mnt/local; \
		mount -n --move /mnt /usr; \
		PATH=/usr/sbin:/usr/bin exec make -f Makefile "$$@"' $(usr) $(goals)
