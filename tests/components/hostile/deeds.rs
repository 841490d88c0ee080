// What becomes of each deed that no limit or check lets through: the reason of Ready. Included by the tests that have them done.
[
    ("loop", "DeadlineExceeded"),
    ("memory", "MemoryLimitExceeded"),
    ("trap", "PluginTrapped"),
    ("stack", "StackOverflow"),
    ("calls", "HostCallLimitExceeded"),
    ("bytes", "HostByteLimitExceeded"),
    ("answer", "HostByteLimitExceeded"),
    ("nonsense", "AnswerInvalid"),
    ("events", "PlanInvalid"),
    ("wide", "PlanInvalid"),
    ("status", "PlanInvalid"),
    ("conditions", "PlanInvalid"),
    ("snoop", "Denied"),
    ("spy", "Denied"),
]
