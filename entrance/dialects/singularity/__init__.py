"""Singularity's API (``data-preservation-programs/singularity``): ``/api`` and ``/piece``. See contracts: singularity."""
