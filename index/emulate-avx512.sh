#!/bin/sh
# Runs the kernels' twin tests on an emulated CPU with AVX-512, for machines that lack it.
#
#   apt-get install bochs bochsbios vgabios isolinux syslinux-common xorriso cpio busybox-static
#   apt-get download linux-image-6.1.0-48-cloud-amd64 && dpkg -x linux-image-*.deb kernel
#   index/emulate-avx512.sh kernel/boot/vmlinuz-*
#
# (Any recent kernel with a serial console will do.) A static test binary and a shell become the initial ramdisk of a
# Linux that Bochs boots as an Ice Lake; some features whose emulation Linux trips over are hidden from it. Takes a
# minute or two. DEBIAN_ROOT names a tree of unpacked packages to use in place of installed ones. Ends with the status
# of the tests.
set -eu
kernel=${1:?name a Linux kernel image}
root=${DEBIAN_ROOT:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "$root" ]; then
    export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu"
    export LTDL_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu/bochs/plugins"
fi

# Cargo names the binary on its last line: "Executable unittests src/lib.rs (PATH)".
binary=$(RUSTFLAGS='-C target-feature=+crt-static' cargo test --release --no-run -p engram-index --lib \
    --target x86_64-unknown-linux-gnu 2>&1 | sed -n 's/.*Executable.*(\(.*\))$/\1/p' | tail -n 1)
[ -n "$binary" ] || { echo "no test binary was built" >&2; exit 2; }

mkdir -p "$work/ram/bin" "$work/ram/proc" "$work/ram/dev" "$work/disc/isolinux"
cp "$root/bin/busybox" "$work/ram/bin/busybox"
cp "$binary" "$work/ram/test"
strip "$work/ram/test"
cat > "$work/ram/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
ENGRAM_KERNELS_EXPECTED=avx512 /test kernel::tests --test-threads=1 2>&1
echo "status of the tests: \$?"
/bin/busybox sleep 1
/bin/busybox reboot -f
END
chmod +x "$work/ram/init"
(cd "$work/ram" && find . | "$root/bin/cpio" -o -H newc --quiet) > "$work/disc/initrd"
cp "$kernel" "$work/disc/vmlinuz"
cp "$root/usr/lib/ISOLINUX/isolinux.bin" "$root/usr/lib/syslinux/modules/bios/ldlinux.c32" "$work/disc/isolinux/"
# By bit: xsavec 321, xsaves 323, pku 515, ospke 516, fsrm 580, clflushopt 311, clwb 312, smap 308, pcid 145,
# invpcid 298, umip 514, rdpid 534, erms 297.
cat > "$work/disc/isolinux/isolinux.cfg" <<END
default linux
prompt 0
label linux
 kernel /vmlinuz
 initrd /initrd
 append console=ttyS0 quiet panic=-1 reboot=triple lsm=none mitigations=off lpj=1000000 tsc=reliable nopku noxsaves clearcpuid=321,323,515,516,580,311,312,308,145,298,514,534,297
END
"$root/usr/bin/xorriso" -as mkisofs -quiet -o "$work/boot.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$work/disc" 2> "$work/xorriso.log"

cat > "$work/bochsrc" <<END
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest=512, host=512
romimage: file=$root/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$root/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_icelake_u, count=1, ips=100000000, reset_on_triple_fault=0
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
END
# Debian's Bochs has its debugger, which waits for a "continue"; the triple fault at the end is its way out.
echo c > "$work/continue"
timeout "${SECONDS_MAX:-1800}" "$root/usr/bin/bochs-bin" -q -f "$work/bochsrc" -rc "$work/continue" \
    < /dev/null > "$work/bochs.out" 2>&1 || true
cat "$work/serial"
grep -q 'status of the tests: 0' "$work/serial"
