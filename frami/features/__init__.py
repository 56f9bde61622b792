"""What a teacher makes of clips: embeddings, diversity, maps, the studio's gallery."""
