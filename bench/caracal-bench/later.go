package main

import "context"

func (b *bench) swap(ctx context.Context) error     { return nil }
func (b *bench) watchers(ctx context.Context) error { return nil }
func (b *bench) zones(ctx context.Context) error    { return nil }
