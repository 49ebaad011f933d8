module github.com/treering/treering/bindings/go

go 1.24
