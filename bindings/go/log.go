package treering

import (
	"context"
	"log/slog"
)

// WithLogger makes every operation that is given the context log what happens during it: warnings and failed steps as such, the
// rest at the level of debugging, output of commands left out. A function of [WithEvents] that the context has is called as well.
func WithLogger(ctx context.Context, logger *slog.Logger) context.Context {
	return addEvents(ctx, func(e Event) {
		level := slog.LevelDebug
		switch e.Kind {
		case Warning:
			level = slog.LevelWarn
		case StepFailed:
			level = slog.LevelError
		case StepOutput:
			return
		}
		if !logger.Enabled(ctx, level) {
			return
		}
		attributes := make([]slog.Attr, 0, 8)
		text := func(key, value string) {
			if value != "" {
				attributes = append(attributes, slog.String(key, value))
			}
		}
		number := func(key string, value uint64) {
			if value != 0 {
				attributes = append(attributes, slog.Uint64(key, value))
			}
		}
		number("step", uint64(e.Step))
		text("stage", e.Stage)
		text("rule", e.Rule)
		text("digest", e.Digest)
		number("bytes", e.Bytes)
		number("total", e.BytesTotal)
		if e.Took != 0 {
			attributes = append(attributes, slog.Duration("took", e.Took))
		}
		if at := e.Location; at != nil {
			attributes = append(attributes, slog.String("file", at.File), slog.Int("line", at.Line))
		}
		message := e.Text
		if message == "" {
			message = words[e.Kind]
		}
		logger.LogAttrs(ctx, level, message, attributes...)
	})
}

var words = map[EventKind]string{
	StepStarted: "started", StepCached: "cached", OutputDropped: "output dropped", StepFinished: "finished",
	BlobTransfer: "transfer", Warning: "warning", StepFailed: "failed",
}
