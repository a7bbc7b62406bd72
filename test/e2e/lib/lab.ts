/** What the demo and the bench take from the test library; they bundle this file and import the result. */
export { placeOf, startHaproxyWith, startKeepalived } from './around.ts';
export { Chaos } from './chaos.ts';
export { drawNodes, drawRound, KINDS, readPlan } from './chaos-plan.ts';
export { Client, type CommandResult, repository, runOn } from './client.ts';
export { Cluster, type ClusterOptions, hostNames, type Node } from './cluster.ts';
export { type DecisionTime, decisionTimes } from './decision-times.ts';
export { startHaproxy } from './haproxy.ts';
export { environment, giveServersTheirOwnNode, launch, serverDirectory, stepDown } from './launch.ts';
export { judge, longestPause, overlaps } from './ledger.ts';
export { createLoopback, createNamespaces, namespacesUnavailable } from './network.ts';
export { poolersInFile, startPoolers } from './pgbouncer.ts';
export { commandLine, footprint, identify, postgresFamily, postmasterOf, signal } from './processes.ts';
export { fillIn, publishedFile } from './published.ts';
export { closeRun, openRun, runDirectory } from './run.ts';
export { monotonic, sleep, until } from './time.ts';
