"""Operations: health, metrics, counts, dead letters."""
