"""BlackPearl (Spectra S3, DS3): tasks as jobs, in XML, under ``/_rest_``."""
