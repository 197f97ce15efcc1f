/* Every way a packet can end in the bond. Append only; codes are never reused.
 *
 * REASON(code, name, sentence): the controller reads this list from the file, so
 * the names in `doctor`, listings and metrics are these.
 */
#ifndef MPBOND_REASONS_H
#define MPBOND_REASONS_H

#define MPB_REASONS(REASON)                                                                   \
	REASON(0, tx_sent, "sent over a path")                                                \
	REASON(1, tx_to_device, "left to mp0's queue, to come back cut or shaped")            \
	REASON(2, tx_not_ip, "dropped: neither IPv4 nor IPv6")                                \
	REASON(3, tx_malformed, "dropped: inner IP header cut short or wrong")                \
	REASON(4, tx_no_peer, "dropped: in no peer's allowed prefixes")                       \
	REASON(5, tx_no_path, "dropped: no path of the peer is usable")                       \
	REASON(6, tx_too_big, "dropped: no room for the outer header below 64 KiB")           \
	REASON(7, tx_encap_failed, "dropped: the kernel refused to add the outer header")     \
	REASON(8, tx_unconfigured, "dropped: the controller has not finished")                \
	REASON(9, rx_delivered, "delivered to mp0")                                           \
	REASON(10, rx_not_ours, "passed on untouched")                                        \
	REASON(11, rx_truncated, "dropped: shorter than its headers say")                     \
	REASON(12, rx_bad_version, "dropped: another version of the bond header")             \
	REASON(13, rx_bad_type, "dropped: unknown packet type or flag")                       \
	REASON(14, rx_unknown_session, "dropped: session number of no peer")                  \
	REASON(15, rx_inner_malformed, "dropped: what was inside is no IP packet")            \
	REASON(16, rx_source_not_allowed, "dropped: inner source not in peer's prefixes")     \
	REASON(17, rx_decap_failed, "dropped: the kernel refused to strip the header")        \
	REASON(18, rx_bad_mac, "dropped: probe or answer failed its check")                   \
	REASON(19, rx_stale_answer, "dropped: answer to no recent probe")                     \
	REASON(20, rx_unknown_path, "dropped: answer for a path that is not there")           \
	REASON(21, rx_probe_answered, "probe, answered")                                      \
	REASON(22, rx_answer_taken, "answer, recorded")                                       \
	REASON(23, rx_fragment, "dropped: fragment of an outer packet")                       \
	REASON(24, rx_to_tc, "passed by XDP to the tc program")                               \
	REASON(25, probe_sent, "probe sent")                                                  \
	REASON(26, probe_failed, "probe not sent: its path is gone or the kernel refused")    \
	REASON(27, rx_unconfigured, "passed: the controller has not finished")                \
	REASON(28, tx_copy_failed, "dropped: no room in the kernel's queue for a copy")       \
	REASON(29, rx_duplicate, "dropped: a copy of it was delivered before")                \
	REASON(30, rx_copy_late, "dropped: a copy later than 8,192 packets")                  \
	REASON(31, rx_handshake, "handshake message, given to the controller")                \
	REASON(32, rx_handshake_limited, "dropped: more handshake messages than are read")    \
	REASON(33, rx_unanswerable, "probe, taken; no session of ours to answer under yet")   \
	REASON(34, rx_over_limit, "dropped: beyond the peer's maxRecvKbps")                   \
	REASON(35, rx_surplus_connection, "dropped: connection was not agreed on")            \
	REASON(36, rx_replayed, "dropped: probe that has come before, or is too old to tell") \
	REASON(37, rx_control, "control frame, given to the controller")                      \
	REASON(38, rx_control_limited, "dropped: more control frames than are read")

enum mpb_reason {
#define MPB_REASON_ENUM(code, name, sentence) REASON_##name = code,
	MPB_REASONS(MPB_REASON_ENUM)
#undef MPB_REASON_ENUM
	REASON_COUNT
};

/* What a stage returns when there is no reason to end yet. */
#define GO_ON (-1)

#endif
