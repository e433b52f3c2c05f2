/** API Gateway's quota of API keys for each account and Region (developer guide). It cannot be raised. */
export const KEY_QUOTA = 10_000
