import type { Command } from 'commander'
import { checkTrust } from './trust-check.ts'
import { explainRequest, explainToken } from './trust-explain.ts'

interface CheckOptions {
  readonly offline?: true
  readonly json?: true
}

interface ExplainOptions {
  readonly tokenFile?: string
  readonly rule?: string
  readonly json?: true
}

/** Adds `firstkey trust check|explain`. */
export function addTrustCommands(program: Command): void {
  const trust = program
    .command('trust')
    .description('check the trust file, and explain why it lets an identity in or not')

  trust
    .command('check')
    .description(
      'check a trust file: all of its faults, with line and column; then the keys of each issuer and the login providers',
    )
    .argument('[file]', 'the trust file (default: TRUST_FILE)')
    .option('--offline', 'only the file: ask no issuer')
    .option('--json', 'print JSON')
    .action((file: string | undefined, options: CheckOptions) => checkTrust(file, options))

  trust
    .command('explain')
    .description(
      'say claim by claim why each rule matches an identity token or a refused request, or does not',
    )
    .argument('[request]', 'request id, req_…, as in the "instance" of the error and in the log')
    .option(
      '--token-file <file>',
      'a file with an identity token; - reads standard input. It is never printed.',
    )
    .option('--rule <id>', 'only this rule')
    .option('--json', 'print JSON')
    .action((request: string | undefined, { tokenFile, ...options }: ExplainOptions) => {
      if ((request === undefined) === (tokenFile === undefined))
        throw new Error('specify either a request id, or --token-file')
      return request === undefined ? explainToken(tokenFile ?? '', options) : explainRequest(request, options)
    })
}
