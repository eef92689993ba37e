"""From records to figures, tables and one page; runs without root or a lab."""
