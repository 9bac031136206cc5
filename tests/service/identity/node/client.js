// openid-client as a relying party. One job, JSON on the standard input; steps that need a person are told as a line of
// JSON on the standard output and answered by a line on the standard input. The last line is the outcome.
import { createInterface } from "node:readline";
import * as client from "openid-client";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => JSON.parse((await lines.next()).value);
const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");

async function code(config, job) {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const nonce = client.randomNonce();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: job.back,
    scope: job.scope,
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  });
  tell({ url: url.href });
  const back = new URL((await next()).back);
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: job.nonce ?? nonce, idTokenExpected: true };
  return client.authorizationCodeGrant(config, back, checks);
}

async function device(config, job) {
  const started = await client.initiateDeviceAuthorization(config, { scope: job.scope });
  tell(started);
  return client.pollDeviceAuthorizationGrant(config, started);
}

async function run(job) {
  const options = { execute: [client.enableNonRepudiationChecks] }; // the signature of ID tokens too
  const metadata = { id_token_signed_response_alg: job.algorithm };
  const secret = job.secret ? client.ClientSecretBasic(job.secret) : client.None();
  const config = await client.discovery(new URL(job.issuer), job.client, metadata, secret, options);
  const tokens = await (job.flow === "device" ? device : code)(config, job);
  const subject = tokens.claims().sub;
  const person = await client.fetchUserInfo(config, tokens.access_token, subject);
  const fresh = await client.refreshTokenGrant(config, tokens.refresh_token);
  const told = job.secret ? await client.tokenIntrospection(config, fresh.access_token) : null;
  await client.tokenRevocation(config, fresh.refresh_token);
  const late = await client.refreshTokenGrant(config, fresh.refresh_token).catch((error) => error.error);
  return { claims: tokens.claims(), person, renewed: fresh.claims(), told, late };
}

run(await next())
  .then((outcome) => tell({ outcome }))
  .catch((error) => tell({ error: String(error.code ?? error.name), message: `${error.message} ${error.cause ?? ""}` }))
  .finally(() => process.exit(0));
