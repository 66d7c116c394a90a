"""What a person looks at: two readers compared, their consensus, the worst slices of a batch, its report."""
