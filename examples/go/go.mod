module github.com/treering/treering/examples/go

go 1.24

require github.com/treering/treering/bindings/go v0.0.0

replace github.com/treering/treering/bindings/go => ../../bindings/go
