package main

// Of the object stores that --bundle-source takes, the daemon links the
// directory alone. The clouds' libraries would make the binary three quarters
// larger, and put their ways to find credentials into the process that decides:
// docs/distribution.md has the figures, and the build tag clouds links them all.
import _ "gocloud.dev/blob/fileblob"
