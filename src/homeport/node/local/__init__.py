"""Images that are made of layers: built from Dockerfiles, or loaded from archives; kept per user, beside environments.

::

    <directory>/names.json          name -> id
               /images/HEX.json     a record per image
               /layers/HEX16        a layer as overlayfs reads it; HEX16.json says what it is
               /steps/KEY.json      which layer a step of a build has made
"""
