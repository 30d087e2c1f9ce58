// The rows over TCP.
#pragma once

#include "../peer.hpp"

void echo(peer::repetition& rep, int connections, std::int64_t messages);
void accept_rate(peer::repetition& rep);
