// Package cache holds encoded decisions, keyed by the snapshot that made them
// and the input they were made for. Keys are compared in full, so an entry
// never answers for another input; a snapshot that was swapped out takes its
// entries with it at once.
package cache
