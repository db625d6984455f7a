"""What benchmarks share: the machine they ran on, lines of results, tables, memory, pictures to try on."""
