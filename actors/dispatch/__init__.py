"""The dispatcher of a job: feeds its gangs take after take, and books what comes of it."""
