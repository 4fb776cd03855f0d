"""The commands of ``bin/entrance``, one module a group.

``main`` collects them and imports a module only when one of its commands is called. ``frame`` holds what all commands share
(options, errors, exit statuses, output), ``client`` speaks to the service, ``folder`` works on the data folder.
"""
