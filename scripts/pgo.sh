#!/bin/sh
# Builds target/dist/tidegate a second time, by the profile of a training run (profile-guided optimisation):
# what requests run through is laid out together and in the order in which it runs, what they do not is kept
# apart. Takes a quarter of an hour on two cores. Needs llvm-profdata and h2load: `make bench-install` has both.
set -eu

cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
merge=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
profile=$PWD/target/pgo

if [ ! -x "$merge" ]; then
    echo "llvm-profdata is missing: \`rustup component add llvm-tools\`, or \`make bench-install\`." >&2
    exit 1
fi
if ! command -v h2load >/dev/null 2>&1; then
    echo "h2load is missing, which the training run needs: \`make bench-install\`." >&2
    exit 1
fi

# With --target, build scripts and macros are left as they are.
build() {
    RUSTFLAGS="$1" CARGO_TARGET_DIR="$2" \
        "$cargo" build --profile dist --bin tidegate --locked --target "$host"
}

train() {
    LLVM_PROFILE_FILE="$profile/raw/%p.profraw" ./target/release/tidegate-bench "$@" \
        --tidegate "$counting" --proxy tidegate --proxy tidegate-logged \
        --rounds 1 --repeats 0 --out "$profile/results"
}

echo "1 of 3: a build that counts"
build "-Cprofile-generate=$profile/raw" "$profile"

counting=$profile/$host/dist/tidegate
used=$profile/used/$host/dist/tidegate
mkdir -p target/dist
if [ "$used" -nt "$counting" ]; then
    cp "$used" target/dist/tidegate
    echo "target/dist/tidegate is up to date."
    exit 0
fi

echo "2 of 3: a training run"
# What an earlier build counted fits no other.
rm -rf "$profile/raw"
"$cargo" build --release -p tidegate-bench --locked
train size --percent 5
train handshake --percent 5
train routes --percent 5
train endpoints --percent 5 --only 100
"$merge" merge --sparse -o "$profile/tidegate.profdata" "$profile"/raw/*.profraw

echo "3 of 3: the build that uses the counts"
build "-Cprofile-use=$profile/tidegate.profdata" "$profile/used"
cp "$used" target/dist/tidegate
echo "target/dist/tidegate is ready."
