/// Networking for tasks: Asio's sockets with use_task as their token, and what services are made of.
#pragma once

#include <leat/asio/net/connect.hpp>
#include <leat/asio/net/error.hpp>
#include <leat/asio/net/framing.hpp>
#include <leat/asio/net/io.hpp>
#include <leat/asio/net/listen.hpp>
#include <leat/asio/net/stream.hpp>
#include <leat/asio/net/types.hpp>
#include <leat/asio/serve.hpp>
