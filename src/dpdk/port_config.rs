//! How a port is set up.

/// What a port is asked for.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// The socket of each receive queue and each transmit queue.
    pub rx_sockets: Vec<u32>,
    pub tx_sockets: Vec<u32>,
    /// How many lcores send by each transmit queue.
    pub txq_users: Vec<usize>,
    pub rxd: u16,
    pub txd: u16,
    /// The longest frame to take, in bytes with the checksum.
    pub max_pkt_len: u32,
    /// Receive into several buffers what one can't hold, and send such packets;
    /// costs speed on many NICs.
    pub scatter: bool,
    pub promiscuous: bool,
    /// Have it stamp what it receives, where it has to be asked.
    pub stamp: bool,
}

impl PortConfig {
    pub(super) fn rxqs(&self) -> u16 {
        self.rx_sockets.len() as u16
    }

    pub(super) fn txqs(&self) -> u16 {
        self.tx_sockets.len() as u16
    }
}
