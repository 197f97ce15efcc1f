"""A lab of network namespaces: topologies as data, made real, cut, measured."""
