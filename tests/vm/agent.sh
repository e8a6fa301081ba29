#!/bin/sh
# Runs in the guest: executes the lines that the test writes to the second serial port. Prints the boot id first, and an exit code after
# each line.
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
printf '@boot %s\n' "$(cat /proc/sys/kernel/random/boot_id)"
while IFS= read -r line; do
    code=0
    # In a subshell, so that `exit` ends only the line.
    (eval "$line") </dev/null || code=$?
    printf '\n@code %s\n' "$code"
done
