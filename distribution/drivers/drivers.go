// Package drivers links the object stores that bundles can be in: S3 and
// compatible (s3://), Google Cloud Storage (gs://), Azure Blob Storage
// (azblob://), directories (file://) and, for tests, memory (mem://). It is apart
// from distribution so that whoever embeds a daemon chooses what to link.
package drivers

import (
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/fileblob"  // file://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/memblob"   // mem://
	_ "gocloud.dev/blob/s3blob"    // s3://
)
