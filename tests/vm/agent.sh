#!/bin/sh
# Runs in the guest: what the test writes to the second serial port, line by line. Says at first which boot this is, and after each line
# its exit code.
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
printf '@boot %s\n' "$(cat /proc/sys/kernel/random/boot_id)"
while IFS= read -r line; do
    code=0
    # Of its own, so that `exit` ends the line only.
    (eval "$line") </dev/null || code=$?
    printf '\n@code %s\n' "$code"
done
