"""From published slices and masks to a generator: dataset, prior, segmenters, networks, training, sampling."""
