"""Networks: towers, fusion, codebook, transport, momentum teacher, queues."""
