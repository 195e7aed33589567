# SPDX-License-Identifier: GPL-2.0-only
#
# Builds dm-qed outside of the kernel tree; "make help" says more. What the
# module consists of is in Kbuild.

KDIR ?= /lib/modules/$(shell uname -r)/build
KERNELS ?= 6.1 6.12 backports
TESTS ?=
export KERNELS TESTS

kernel = $(firstword $(KERNELS))
testing := tools/testing
kbuild := $(MAKE) -C $(KDIR) M=$(CURDIR)
release = $(shell sed 's/.*"\(.*\)".*/\1/' $(KDIR)/include/generated/utsrelease.h)
depmod = PATH="$$PATH:/sbin:/usr/sbin" depmod -a $(release)
# where kbuild puts modules from elsewhere: the former until Linux 6.5
installed := extra updates

all: modules

modules: $(KDIR)
	$(kbuild) $@

# With the headers of Debian's kernels kbuild leaves out depmod, which is not for a module
# that gets into a package.
modules_install: $(KDIR)
	$(kbuild) $@
	$(if $(INSTALL_MOD_PATH),,$(depmod))

modules_uninstall: $(KDIR)
	$(RM) $(installed:%=$(INSTALL_MOD_PATH)/lib/modules/$(release)/%/dm-qed-mod.ko*)
	$(if $(INSTALL_MOD_PATH),,$(depmod))

tools:
	$(MAKE) -C tools/qed
	$(MAKE) -C tools/qed/qedsetup
	$(MAKE) -C tools/qed/boot

tools_install:
	$(MAKE) -C tools/qed install
	$(MAKE) -C tools/qed/qedsetup install
	$(MAKE) -C tools/qed/boot install

deb:
	@$(testing)/deb.sh

# run_tests of the selftests builds its helpers in their folder
clean:
	$(if $(wildcard $(KDIR)),$(kbuild) clean)
	$(if $(wildcard $(testing)),$(MAKE) -C $(testing)/selftests/dm-qed clean)
	$(RM) -r build

$(KDIR):
	@echo "$(KDIR): no such folder; install the headers of the kernel" >&2
	@echo "(Debian: linux-headers-$(shell uname -r)) or set KDIR" >&2
	@false

setup:
	@$(testing)/setup.sh

demo: setup
	@$(testing)/demo.sh

check: setup
	@$(testing)/check.sh

check-crash: setup
	@$(foreach kernel,$(KERNELS),$(testing)/crash/check -k $(kernel) \
		-n 400000 -s 3 &&) true

check-faults: setup
	@$(foreach kernel,$(KERNELS),$(testing)/faults/check -k $(kernel) &&) true

check-stalls: setup
	@$(foreach kernel,uml $(KERNELS),$(testing)/stalls/check -k $(kernel) -s 120 &&) true

check-breaks: setup
	@$(testing)/breaks/check

check-power: setup
	@$(foreach kernel,$(KERNELS),$(testing)/long.sh $(kernel) power_cuts \
		CUTS=500 &&) true

check-swap: setup
	@$(foreach kernel,$(KERNELS),$(testing)/long.sh $(kernel) swap \
		SWAP_SECONDS=300 &&) true

check-debug: setup
	@$(testing)/debug/check uml && $(testing)/debug/check kcsan

coverage: setup
	@$(testing)/debug/coverage

check-packages: setup
	@$(testing)/install/check

debug-kernel: setup
	@$(testing)/vm/build-kernel uml
	@$(testing)/vm/build-kernel kcsan

check-fsck: setup
	@$(testing)/fsck/corpus/check 20000
	@$(testing)/fsck/build.sh
	@$(testing)/fsck/generate/check -n 100000
	@$(testing)/fsck/calls
	@$(testing)/fsck/corpus/breaks
	@$(testing)/fsck/corpus/corpus kernel build/long/fsck-images 8
	@$(foreach kernel,$(KERNELS),$(testing)/long.sh $(kernel) fsck \
		FSCK_IMAGES=$(CURDIR)/build/long/fsck-images &&) true

bench-fsck: setup
	@$(testing)/fsck/build.sh
	@$(testing)/fsck/bench

fuzz-fsck: setup
	@$(testing)/fsck/fuzz

lint: setup
	@$(testing)/lint.sh

bench: setup
	@$(testing)/bench/bench

vm: setup
	$(testing)/build.sh $(kernel)
	$(testing)/vm/vm-run -k $(kernel) -m 2048 \
		--module build/$(kernel)/dm-qed-mod.ko -i

help:
	@echo 'On the machine that will use the module:'
	@echo '  make                  build dm-qed-mod.ko for the running kernel'
	@echo '  make KDIR=DIR         ... for the kernel with its headers in DIR'
	@echo '  make modules_install  install it, for modprobe to find it'
	@echo '  make modules_uninstall  undo that'
	@echo '  make clean            remove all that was built'
	@echo '  make tools            build qed-fsck and qedsetup; needs no headers of the kernel'
	@echo '  make tools_install    install them; DESTDIR= and PREFIX= tell where'
	@echo '  make deb              Debian packages of all that, in build/deb'
	@echo 'In virtual machines, on Debian 12; missing packages get installed:'
	@echo '  make demo             show what it does'
	@echo '  make check            all tests on the first of these kernels, and on the others'
	@echo '                        what depends on the kernel: $(KERNELS)'
	@echo '                        KERNELS="6.12": all of them on this one'
	@echo '                        TESTS="NAME...": only these selftests'
	@echo '  make check-crash      power cuts, more of them than in make check'
	@echo '  make check-faults     fail each I/O of the image, in all ways'
	@echo '  make check-stalls     faults that need delays within the code, on all kernels'
	@echo '  make check-breaks     put faults back, each of which a test has to catch'
	@echo '  make check-power      1,000 cuts of the power of disks with a cache, and more'
	@echo '  make check-swap       swap on an image, for ten minutes'
	@echo '  make check-packages   install the packages on a Debian that starts and crashes'
	@echo '  make debug-kernel     build kernels that look for bugs'
	@echo '  make check-debug      the tests on these'
	@echo '  make coverage         which lines make check-debug has executed'
	@echo '  make check-fsck       120,000 damaged images for qed-fsck, each of its calls'
	@echo '  make bench-fsck       measure qed-fsck beside qemu-img check'
	@echo '  make fuzz-fsck        fuzz it, 10 million times'
	@echo '  make lint             only the static checks'
	@echo '  make bench            measure, beside other targets and QEMU'
	@echo '  make vm               a shell in a virtual machine with the module'

.PHONY: all modules modules_install modules_uninstall tools tools_install deb clean setup demo \
	check check-crash check-faults check-stalls check-breaks check-power check-packages \
	check-swap check-debug check-fsck coverage debug-kernel fuzz-fsck lint bench bench-fsck vm help
