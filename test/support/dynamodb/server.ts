import { type LoopbackServer, startLoopbackServer } from '../loopback-server.ts'

/**
 * Starts dynoxide, an open-source stand-in for DynamoDB: empty, in memory, with the same tables for all credentials and
 * regions.
 * @param command what runs dynoxide, as `findOrBuildDynoxide` returns it
 * @throws Error with its output if it does not start
 */
export function startDynoxide(command: string): Promise<LoopbackServer> {
  return startLoopbackServer('dynoxide', (port) => ({
    command,
    args: ['serve', '--host', '127.0.0.1', '--port', String(port), '--log', 'quiet'],
  }))
}
