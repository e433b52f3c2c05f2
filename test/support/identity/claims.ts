import type { Claims } from './issuer.ts'

/** The claims of a job of GitHub Actions, whose repository was created before `sub` had ids in it. Every id is a string. */
export function githubClaims(claims: Claims = {}): Claims {
  return {
    sub: 'repo:acme/agents:environment:prod',
    actor: 'octocat',
    actor_id: '583231',
    base_ref: '',
    environment: 'prod',
    event_name: 'push',
    head_ref: '',
    job_workflow_ref: 'acme/agents/.github/workflows/agent.yml@refs/heads/main',
    job_workflow_sha: 'c040cae0f0dc81641728557b80f09cfa23b83fe5',
    ref: 'refs/heads/main',
    ref_protected: 'true',
    ref_type: 'branch',
    repository: 'acme/agents',
    repository_id: '42',
    repository_owner: 'acme',
    repository_owner_id: '2020',
    repository_visibility: 'private',
    run_attempt: '1',
    run_id: '22259804324',
    run_number: '42',
    runner_environment: 'github-hosted',
    sha: 'c040cae0f0dc81641728557b80f09cfa23b83fe5',
    workflow: 'agent',
    workflow_ref: 'acme/agents/.github/workflows/agent.yml@refs/heads/main',
    workflow_sha: 'c040cae0f0dc81641728557b80f09cfa23b83fe5',
    ...claims,
  }
}

/** The claims of a job of GitLab CI. Every id is a string, except that of the runner. */
export function gitlabClaims(claims: Claims = {}): Claims {
  return {
    sub: 'project_path:acme/agents:ref_type:branch:ref:main',
    namespace_id: '68413579',
    namespace_path: 'acme',
    project_id: '46573356',
    project_path: 'acme/agents',
    project_visibility: 'private',
    user_id: '184239',
    user_login: 'octocat',
    user_email: 'octocat@example.com',
    user_access_level: 'owner',
    groups_direct: ['acme', 'acme/platform'],
    pipeline_id: '1519139981',
    pipeline_source: 'push',
    job_id: '8222997048',
    ref: 'main',
    ref_type: 'branch',
    ref_path: 'refs/heads/main',
    ref_protected: 'true',
    runner_id: 12270835,
    runner_environment: 'gitlab-hosted',
    sha: '8fe1b322a576d59fe6257052a4107df7dc1b8c78',
    ci_config_ref_uri: 'gitlab.com/acme/agents//.gitlab-ci.yml@refs/heads/main',
    ...claims,
  }
}

/** The claims of a projected token of a service account; its header has no `typ`, and `aud` is an array of one. */
export function kubernetesClaims(
  namespace = 'agents',
  serviceAccount = 'crawler',
  claims: Claims = {},
): Claims {
  return {
    sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
    'kubernetes.io': {
      namespace,
      node: { name: 'my-node', uid: '646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1' },
      pod: { name: `${serviceAccount}-5f6b`, uid: '5e0bd49b-f040-43b0-99b7-22765a53f7f3' },
      serviceaccount: { name: serviceAccount, uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798' },
    },
    ...claims,
  }
}

/** The name of the claim that has all claims of AWS's own. */
export const AWS_NAMESPACE = 'https://sts.amazonaws.com/'

/** The claims of `sts:GetWebIdentityToken`. @param own claims below {@link AWS_NAMESPACE} */
export function awsClaims(own: Claims = {}, claims: Claims = {}): Claims {
  return {
    sub: 'arn:aws:iam::123456789012:role/DataProcessingRole',
    [AWS_NAMESPACE]: {
      aws_account: '123456789012',
      source_region: 'us-east-1',
      org_id: 'o-abc1234567',
      ou_path: 'o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/ou-ab12-22222222/',
      principal_tags: { environment: 'production', team: 'data-engineering' },
      lambda_source_function_arn: 'arn:aws:lambda:us-east-1:123456789012:function:process-data',
      request_tags: { 'job-id': 'job-2024-001' },
      ...own,
    },
    ...claims,
  }
}

/** The claims of an identity token of a service account from the metadata server of Google Cloud, with `format=full`. */
export function gcpClaims(claims: Claims = {}): Claims {
  return {
    sub: '112010400000000710080',
    azp: '112010400000000710080',
    email: 'crawler@acme-prod.iam.gserviceaccount.com',
    email_verified: true,
    google: {
      compute_engine: {
        project_id: 'acme-prod',
        project_number: 739419398126,
        zone: 'us-west1-a',
        instance_id: '152986662232938449',
        instance_name: 'crawler-1',
      },
    },
    // No `jti`: the metadata server caches its tokens.
    jti: undefined,
    ...claims,
  }
}

/** The claims of an application's or managed identity's access token of Entra ID, version 2.0. */
export function entraClaims(claims: Claims = {}): Claims {
  return {
    sub: '9f2d7b1c-3f53-4d6e-8f0b-8d2f1c6b0a11',
    tid: '72f988bf-86f1-41af-91ab-2d7cd011db47',
    oid: '9f2d7b1c-3f53-4d6e-8f0b-8d2f1c6b0a11',
    azp: 'b14a7505-96e9-4927-91e8-0601d0fc9caa',
    azpacr: '2',
    idtyp: 'app',
    uti: 'BVpXJvCiq0CzJYqbIDqJAA',
    ver: '2.0',
    jti: undefined,
    ...claims,
  }
}
