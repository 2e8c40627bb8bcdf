package audit

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// encoderWindow is how far back an encoder looks for what repeats, about a hundred
// records: further back it finds no more that pays, and an encoder keeps and goes
// through twice as many bytes.
const encoderWindow = 1 << 17

// restBytes is how much of a batch is read or compressed before others go first.
// Whole batches take milliseconds, for which whoever decides next to them would wait.
const restBytes = 16 << 10

// compressors are quick rather than thorough: records are so much alike that the
// rest makes no difference to their size. Frames within a segment have checksums
// of their own.
var compressors, packers = compressorsOf(true), compressorsOf(false)

func compressorsOf(checksum bool) *sync.Pool {
	return &sync.Pool{New: func() any {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(encoderWindow), zstd.WithEncoderCRC(checksum))
		if err != nil { // the options are constant
			panic(err)
		}
		return z
	}}
}

// compress appends a frame of Zstandard that has the parts. It rests now and then.
func compress(with *sync.Pool, dst []byte, rest func(), parts ...[]byte) ([]byte, error) {
	z := with.Get().(*zstd.Encoder)
	defer with.Put(z)
	out := bytes.NewBuffer(dst)
	size := 0
	for _, data := range parts {
		size += len(data)
	}
	z.ResetContentSize(out, int64(size))
	for _, data := range parts {
		for len(data) > 0 {
			step := data[:min(len(data), restBytes)]
			data = data[len(step):]
			if _, err := z.Write(step); err != nil {
				return dst, err
			}
			if len(step) == restBytes {
				rest()
			}
		}
	}
	if err := z.Close(); err != nil {
		return dst, err
	}
	z.Reset(nil) // nothing of dst is kept
	return out.Bytes(), nil
}
