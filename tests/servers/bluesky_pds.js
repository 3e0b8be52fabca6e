// A real Bluesky PDS and the real PLC directory that it registers its accounts with, both on loopback.
//
//   node bluesky_pds.js NODE_MODULES DATA
//
// Prints the PDS's port as one line of its own once it answers. Stops on SIGTERM, and by itself when
// its standard input closes, so that a test run that was killed leaves no server behind.
const { randomBytes } = require('node:crypto')
const { once } = require('node:events')
const { mkdirSync } = require('node:fs')
const { createRequire } = require('node:module')
const net = require('node:net')
const { join } = require('node:path')

const [modules, data] = process.argv.slice(2)
const installed = createRequire(join(modules, 'any.js'))

// Both programs would listen on every interface, and neither has a setting for it.
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port) {
  return listen.call(this, port, '127.0.0.1')
}

async function freePort() {
  const server = net.createServer().listen(0)
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

async function startDirectory() {
  const { Database, PlcServer } = installed('@did-plc/server')
  const port = await freePort()
  await PlcServer.create({ db: Database.mock(), port }).start()
  return `http://localhost:${port}`
}

async function startPds(didPlcUrl) {
  const { PDS, envToCfg, envToSecrets } = installed('@atproto/pds')
  const blobs = join(data, 'blobs')
  mkdirSync(blobs, { recursive: true })
  const port = await freePort()
  const settings = {
    port,
    hostname: 'localhost', // the one name for which it takes http
    devMode: true, // private addresses are fine
    dataDirectory: data,
    blobstoreDiskLocation: blobs,
    didPlcUrl,
    inviteRequired: false,
    enableDidDocWithSession: true, // as the public servers do
    bskyAppViewUrl: 'http://127.0.0.1:1', // it insists on one; nobody answers there
    bskyAppViewDid: 'did:web:localhost',
    jwtSecret: randomBytes(32).toString('hex'),
    dpopSecret: randomBytes(32).toString('hex'),
    adminPassword: randomBytes(16).toString('hex'),
    plcRotationKeyK256PrivateKeyHex: randomBytes(32).toString('hex'),
  }
  const pds = await PDS.create(envToCfg(settings), envToSecrets(settings))
  await pds.start()
  return port
}

// Everything here is thrown away, so there is nothing to close in good order.
process.on('SIGTERM', () => process.exit(0))
process.stdin.on('end', () => process.exit(0)).resume()

startDirectory()
  .then(startPds)
  .then((port) => console.log(`READY ${port}`))
  .catch((error) => {
    console.error(error)
    process.exit(1)
  })
