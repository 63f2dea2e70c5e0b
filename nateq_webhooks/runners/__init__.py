"""Who calls dispatch, and when: one small class per way."""
