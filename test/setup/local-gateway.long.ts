import { startEmptyGateway } from '../support/gateways/local.ts'
import { gatewayContract } from './gateway-contract.ts'

gatewayContract('the local gateway', startEmptyGateway)
