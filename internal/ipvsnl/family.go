package ipvsnl

// Name and Version are how the family is found (linux/ip_vs.h, IPVS_GENL_NAME).
const (
	Name    = "IPVS"
	Version = 1
)

// command is a command of the family (linux/ip_vs.h, IPVS_CMD_*).
type command uint8

const (
	newService command = 1 + iota
	setService
	deleteService
	getService
	newServer
	setServer
	deleteServer
	getServer
	newDaemon
	deleteDaemon
	getDaemon
	setConfig
	getConfig
	setInfo // only in the answer to getInfo
	getInfo
	zero
	flush

	lastCommand = flush
)

// Attributes of a message (IPVS_CMD_ATTR_*).
const (
	attrService = 1 + iota
	attrServer
	attrDaemon
	attrTimeoutTCP
	attrTimeoutTCPFin
	attrTimeoutUDP
)

// Attributes of a service (IPVS_SVC_ATTR_*).
const (
	serviceFamily = 1 + iota
	serviceProtocol
	serviceAddr
	servicePort
	serviceMark
	serviceScheduler
	serviceFlags
	serviceTimeout
	serviceNetmask
	serviceStats
	servicePE
	serviceStats64
)

// Attributes of a real server (IPVS_DEST_ATTR_*).
const (
	serverAddr = 1 + iota
	serverPort
	serverMethod
	serverWeight
	serverUpper
	serverLower
	serverActive
	serverInactive
	serverPersistent
	serverStats
	serverFamily
	serverStats64
	serverTunnelType
	serverTunnelPort
	serverTunnelFlags
)

// Attributes of a synchronization daemon (IPVS_DAEMON_ATTR_*).
const (
	daemonState = 1 + iota
	daemonInterface
	daemonSyncID
	daemonMaxLen
	daemonGroup
	daemonGroup6
	daemonPort
	daemonTTL
)

// Attributes of counters (IPVS_STATS_ATTR_*).
const (
	statsConns = 1 + iota
	statsInPkts
	statsOutPkts
	statsInBytes
	statsOutBytes
	statsCPS
	statsInPPS
	statsOutPPS
	statsInBPS
	statsOutBPS
)

// Attributes of the answer to getInfo (IPVS_INFO_ATTR_*).
const (
	infoVersion = 1 + iota
	infoTableSize
)

// Flags of a service (IP_VS_SVC_F_*).
const (
	flagPersistent = 1 << iota
	flagHashed     // it is in the table: set in all that are listed
	flagOnePacket
	flagSched // the first of three that are the scheduler's
)
