// Builds and fetches in advance what the tests on DynamoDB and Keycloak would otherwise build and fetch themselves.
import { findOrBuildDynoxide } from './dynamodb/binary.ts'
import { installKeycloak } from './keycloak/install.ts'

await findOrBuildDynoxide()
await installKeycloak()
