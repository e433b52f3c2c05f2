import { after } from 'node:test'
import { gatewayContract } from '../setup/gateway-contract.ts'
import { startMiniStack } from '../support/gateways/ministack.ts'

const miniStack = await startMiniStack()
after(() => miniStack.stop())

gatewayContract('MiniStack', async () => miniStack)
