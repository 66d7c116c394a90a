"""A sentence in Chinese or English becomes a structured request, a mask, an embedding. No Dagster, no figures."""
