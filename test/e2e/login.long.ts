import { testLoginAtReplicas } from '../support/identity/login-replicas.ts'

testLoginAtReplicas(async () => ({}))
