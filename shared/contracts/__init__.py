"""What services and clients say to each other: shapes, names and how they are read. No I/O."""
