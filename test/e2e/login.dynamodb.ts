import { newTable, storeEnv } from '../support/dynamodb/new-table.ts'
import { testLoginAtReplicas } from '../support/identity/login-replicas.ts'

testLoginAtReplicas(async () => storeEnv(await newTable()))
