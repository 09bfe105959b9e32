"""What sipguard costs, measured against an accept-all reader and a rival on the same machine."""
