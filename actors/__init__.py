"""Who renders: the scheduler (a pure state machine), and on Ray the pool, dispatchers, gangs, ranks and finishers."""
