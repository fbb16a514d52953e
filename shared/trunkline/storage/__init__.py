"""The object store: content-addressed objects, packs of small files, sorted runs and manifests."""
