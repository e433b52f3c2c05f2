import { federatedCases } from '../support/identity/federated-cases.ts'

federatedCases('SQLite', async () => ({}))
